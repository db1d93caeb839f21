"""The controller process: background loops. Several controllers may run at once."""
