"""epmdless against real programs: BEAM nodes of two OTP releases, Elixir, and the C epmd."""
