-- ARGV: identity. Returns the account that it was linked to.
local row = identity_row(ARGV[1])
unlink(ARGV[1])
return row
