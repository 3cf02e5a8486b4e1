"""The media types that the catalog knows."""

from typing import Literal

MediaType = Literal["image", "audio"]
MEDIA_TYPES: tuple[MediaType, ...] = ("audio", "image")
