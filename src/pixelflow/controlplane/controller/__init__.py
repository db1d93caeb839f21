"""The controller: loops that keep jobs moving when messages or workers are lost. Each may run beside its twins."""
