"""A reader of the pages that reports are."""

import html.parser
import json

VOID = ("meta", "br", "input")


class Page(html.parser.HTMLParser):
    """Checks nesting, and collects text, tags, addresses and charts.

    `loaded` are the addresses that a browser would load by itself, also from
    style sheets; `links` those that a reader may follow.
    """

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.loaded, self.links, self.charts = [], [], []
        self.policy = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.loaded += [found[k] for k in ("src", "data") if k in found]
        if "href" in found:
            (self.links if tag == "a" else self.loaded).append(found["href"])
        if "data-chart" in found:
            self.charts.append(json.loads(found["data-chart"]))
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            self.loaded += ["style"] * ("url(" in data or "@import" in data)
        elif "script" not in self.open:
            self.words.append(data)
