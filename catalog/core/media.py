"""The media types and categories that the catalog knows."""

from typing import Literal, get_args

MediaType = Literal["image", "audio"]
MEDIA_TYPES: tuple[MediaType, ...] = ("audio", "image")
SHOWN: tuple[MediaType, ...] = ("image", "audio")  # in the order in which people are shown them

ImageCategory = Literal["photograph", "digitized_artwork", "illustration"]
AudioCategory = Literal["music", "sound_effect", "podcast", "audiobook", "news", "pronunciation"]
Category = ImageCategory | AudioCategory
CATEGORIES: dict[MediaType, tuple[str, ...]] = {
    "image": get_args(ImageCategory),
    "audio": get_args(AudioCategory),
}
