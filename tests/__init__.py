"""The tests mirror the package; `interop` meets real programs, `support` holds what tests share."""
