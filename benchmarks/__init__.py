"""hal beside what a user would pick instead: programs that print a table. See README.md in this folder."""
