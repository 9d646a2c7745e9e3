"""A network as a picture: what it shows, how it is laid out, and the SVG."""

from pdc_core.charts.network.picture import NetworkPicture, draw_network, network_picture
from pdc_core.charts.network.svg import Bar

__all__ = ["Bar", "NetworkPicture", "draw_network", "network_picture"]
