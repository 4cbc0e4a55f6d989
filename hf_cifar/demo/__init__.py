"""The demo: pictures in, the answers of one or two models out, in a browser."""
