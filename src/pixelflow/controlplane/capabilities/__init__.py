"""What this installation can do: its operations, formats and limits, and the capabilities of its live workers."""
