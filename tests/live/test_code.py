"""The addresses of a room, and the picture of one."""

import re
from xml.etree import ElementTree

from cutlayer.live.code import phone_url, qr_svg, screen_url

URL = phone_url("https://192.0.2.7:8443", "Zx9_-AbCdEfGhIjKZx9_-AbCdEfGhIjK")


def test_the_token_stands_behind_the_mark_that_browsers_keep():
    assert URL == "https://192.0.2.7:8443/phone#Zx9_-AbCdEfGhIjKZx9_-AbCdEfGhIjK"
    assert screen_url("http://[::1]:80", "abc") == "http://[::1]:80/#abc"


def test_the_svg_scales_and_brings_no_script_and_no_style():
    drawn = qr_svg(URL)
    root = ElementTree.fromstring(drawn)
    assert root.tag.endswith("svg")
    assert "viewBox" in root.attrib
    assert not {"width", "height"} & set(root.attrib)
    assert not re.search(r"<script|<style|style=|href", drawn)
