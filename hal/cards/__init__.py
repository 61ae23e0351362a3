"""What hal says about hardware: the certificate of a device here, and which one to get."""
