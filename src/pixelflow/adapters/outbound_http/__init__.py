"""HTTP requests to URLs that users choose: webhooks, and sources of jobs.

Protects against server-side request forgery: the URL is checked first (``rule``), then every address that its host
resolves to (``network``), and the connection goes to a checked address, so that DNS rebinding has no effect. All
outbound requests to such URLs must go through this package. Never keeps cookies or uses a
proxy; only ``downloads`` follows redirects, each of which is checked like the first URL.
"""

from pixelflow.adapters.outbound_http.client import HttpResponse, OutboundHttp
from pixelflow.adapters.outbound_http.downloads import Downloads
from pixelflow.adapters.outbound_http.network import RESOLVER_OPTIONS, Resolve, SystemResolver
from pixelflow.adapters.outbound_http.rule import OutboundRule

__all__ = ["RESOLVER_OPTIONS", "Downloads", "HttpResponse", "OutboundHttp", "OutboundRule", "Resolve", "SystemResolver"]
