"""Photos of any common kind as RGB uint8, or one clear line."""

from pacofr.images.folder import SUFFIXES, FolderListing, Skipped, list_images, scan_folder
from pacofr.images.load import decode_image, load_image

__all__ = [
    "SUFFIXES",
    "FolderListing",
    "Skipped",
    "decode_image",
    "list_images",
    "load_image",
    "scan_folder",
]
