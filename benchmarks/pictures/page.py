"""An HTML page of pictures that holds all it shows; its policy forbids loading anything from elsewhere."""

from __future__ import annotations

from benchmarks.errors import printable
from benchmarks.pictures.small import picture_url, png_url

SHELL = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
figure { margin: 2rem 0; }
img { max-width: 100%; height: auto; background: white; }
{% block style %}{% endblock %}
</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
{% block content %}{% endblock %}
</main>
</body>
</html>
"""  # noqa: E501 (a policy is one line)


def filled(content: str, title: str, **values: object) -> bytes:
    """Return the page whose `content` is a Jinja template that extends `shell`; every value in it is escaped."""
    from jinja2 import DictLoader, Environment, StrictUndefined

    environment = Environment(
        loader=DictLoader({"shell": SHELL, "content": content}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"printable": printable, "png_url": png_url, "picture_url": picture_url}
    page: str = environment.get_template("content").render(title=title, **values)
    return page.encode()
