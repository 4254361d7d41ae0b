"""Static web pages: folders of HTML files and pictures that a browser opens without a server."""
