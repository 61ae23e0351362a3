"""What in a project keeps it from another vendor's devices: rules as data, engines that find them, a report, fixes."""
