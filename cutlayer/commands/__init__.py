"""The commands of `cutlayer`: a function for each, whose arguments are the options.

Each function imports what it needs when it runs, so that the device never imports torch.
"""
