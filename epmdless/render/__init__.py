"""Files for each platform with epmdless in them, made of templates and checked values alone."""
