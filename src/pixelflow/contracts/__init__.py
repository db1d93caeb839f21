"""The public interface of PixelFlow: models of requests, responses, webhooks and queue messages. Does no I/O."""
