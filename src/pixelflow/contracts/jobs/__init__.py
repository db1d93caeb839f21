"""Jobs: their state machine, the requests that create them and the responses that describe them."""
