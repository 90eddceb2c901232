# SHA-256 of those of the named files that are there. $1 folder; names come between NULs on standard input.
cd "$1" 2> /dev/null || exit 0
xargs -0 -r sha256sum --zero -- 2> /dev/null
exit 0
