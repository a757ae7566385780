"""A check of the finished site: every link and anchor has a target."""

import html.parser
import pathlib
import urllib.parse


class Found(html.parser.HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = set(), {"", "__skip"}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("href", "src"):
                self.links.add(value or "")
            elif name in ("id", "name"):
                self.anchors.add(value or "")


def on_post_build(config):
    broken = find_broken(pathlib.Path(config.site_dir))
    if broken:
        raise SystemExit("Broken links:\n" + "\n".join(broken))


def find_broken(site):
    """Returns a line for each link of a site that leads nowhere."""
    pages = {
        path: Found(path.read_text(encoding="utf-8"))
        for path in site.rglob("*.html") if path.name != "404.html"
    }
    return sorted(
        f"{path.relative_to(site)}: {link}"
        for path, page in pages.items() for link in page.links
        if not _leads_somewhere(path, link, pages)
    )


def _leads_somewhere(path, link, pages):
    parts = urllib.parse.urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = path
    if parts.path:
        target = (path.parent / urllib.parse.unquote(parts.path)).resolve()
    if target.is_dir():
        target /= "index.html"
    if target not in pages:
        return target.exists()
    return urllib.parse.unquote(parts.fragment) in pages[target].anchors
