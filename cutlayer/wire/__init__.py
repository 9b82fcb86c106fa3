"""The only code that knows bytes: messages, codecs, transports."""
