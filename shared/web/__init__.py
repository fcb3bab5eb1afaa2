"""One look for every service's pages: templates, styles, texts in Swedish and English."""
