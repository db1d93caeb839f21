"""Calls to servers that somebody else named: webhooks, an issuer's keys. The only way out of the service.

A URL is judged before anything is done with it (``target``), what its name leads to is judged when it is connected to
(``network``), and that very address is connected to: a name that changes its mind in between changes nothing. Never
follows a redirect, keeps a cookie or uses a proxy.
"""

from pixelflow.adapters.outbound_http.client import HttpResponse, OutboundHttp
from pixelflow.adapters.outbound_http.network import RESOLVER_OPTIONS, Resolve, SystemResolver
from pixelflow.adapters.outbound_http.rule import OutboundRule

__all__ = ["RESOLVER_OPTIONS", "HttpResponse", "OutboundHttp", "OutboundRule", "Resolve", "SystemResolver"]
