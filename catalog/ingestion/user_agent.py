"""The User-Agent of all requests, which tells whom to write to."""

USER_AGENT = "OpenMediaCatalog/0.1 (+https://github.com/open-media-catalog/catalog; catalog@example.org)"


def user_agent(contact: str | None = None) -> str:
    """Return the User-Agent, with the operator's address in place of the project's if it is given."""
    return USER_AGENT.replace("catalog@example.org", contact) if contact else USER_AGENT
