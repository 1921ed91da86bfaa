"""The interface that gloo is told to bind to."""

import os
import socket

import pytest

from timecat.cluster import gloo

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
LOCAL = "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
SLOW = "wlan0\t00000000\t0102A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
DEFAULT = "eth1\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"


@pytest.mark.parametrize(
    ("address", "routes", "given", "named"),
    [
        ("127.0.1.1", HEAD + LOCAL + SLOW + DEFAULT, None, "eth1"),
        ("127.0.1.1", HEAD + LOCAL, None, None),
        ("127.0.1.1", HEAD + DEFAULT, "ib0", "ib0"),
        ("192.168.0.7", HEAD + DEFAULT, None, None),
    ],
)
def test_a_loopback_name_gives_way_to_the_default_route(tmp_path, monkeypatch, address, routes, given, named):
    (tmp_path / "route").write_text(routes)
    monkeypatch.setattr(gloo, "ROUTES", tmp_path / "route")
    monkeypatch.setattr(socket, "gethostbyname", lambda name: address)
    monkeypatch.setattr(os, "environ", {} if given is None else {"GLOO_SOCKET_IFNAME": given})
    gloo.choose_interface()
    assert os.environ.get("GLOO_SOCKET_IFNAME") == named
