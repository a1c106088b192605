"""A plugin that the tests of the frame install and call."""
