//! The command line, in the habits of the vault command.
