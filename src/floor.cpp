// Keeps a floor without sources of its own a valid static library.
