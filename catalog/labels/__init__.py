"""Labels of an image service, merged into the tags of the catalog."""
