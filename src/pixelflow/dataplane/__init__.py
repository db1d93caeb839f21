"""Where pictures are transformed: the worker, and the child processes in which pixels live."""
