"""What a developer and the build run: notebooks, pages, browser, sound, lock."""
