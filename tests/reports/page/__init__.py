"""Tests of pages: in a browser, with pictures, as a site."""
