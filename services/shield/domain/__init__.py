"""What shield thinks of a message: rules as data over what can be read from its content. Pure."""
