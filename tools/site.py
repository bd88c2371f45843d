"""A hook of mkdocs: what a page links to outside of docs/ is shown where the repository is."""

import posixpath
import re

LINK = re.compile(r"(\]\()((?:\.\./)+[^)#\s]*)")


def on_page_markdown(markdown, page, config, files):
    def outside(match):
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page.file.src_uri), match[2]))
        if path.startswith("docs/"):
            return match[0]
        return f"{match[1]}{config.repo_url}/blob/main/{path}"

    return LINK.sub(outside, markdown)
