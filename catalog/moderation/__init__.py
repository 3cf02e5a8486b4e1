"""What moderators of the API have decided about media, and what users have reported to them."""
