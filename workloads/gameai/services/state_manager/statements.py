"""The statements over objects."""

from typing import LiteralString

_FIELDS: LiteralString = "collection, key, owner, value, type, version, written_world_us"
# Values are left out where they are too large together.
READ: LiteralString = """
SELECT collection, key, owner, CASE WHEN total <= %(most)s THEN value ELSE '' END AS value, type, version, written_world_us, total
FROM (
    SELECT object.*, sum(octet_length(value)) OVER () AS total
    FROM object JOIN unnest(%(collections)b::text[], %(keys)b::text[]) AS asked (c, k) ON collection = c AND key = k COLLATE "C"
    WHERE world = %(world)s
) AS found
"""
LOCK: LiteralString = """
SELECT collection, key, version, owner
FROM object JOIN unnest(%(collections)b::text[], %(keys)b::text[]) AS asked (c, k) ON collection = c AND key = k COLLATE "C"
WHERE world = %(world)s ORDER BY collection, key FOR UPDATE OF object
"""
_GIVEN: LiteralString = """
unnest(%(collections)b::text[], %(keys)b::text[], %(owners)b::text[], %(values)b::bytea[], %(types)b::text[]) AS given (c, k, o, v, t)
"""
CREATE: LiteralString = f"""
INSERT INTO object (world, collection, key, owner, value, type, written_world_us)
SELECT %(world)s, c, k, o, v, t, %(now)s FROM {_GIVEN} ORDER BY c, k COLLATE "C"
ON CONFLICT DO NOTHING RETURNING collection, key, version
"""
REPLACE: LiteralString = f"""
UPDATE object SET owner = o, value = v, type = t, version = nextval('object_version'), written_world_us = %(now)s
FROM {_GIVEN} WHERE world = %(world)s AND collection = c AND key = k COLLATE "C" RETURNING collection, key, version
"""
DELETE: LiteralString = """
DELETE FROM object USING unnest(%(collections)b::text[], %(keys)b::text[]) AS asked (c, k)
WHERE world = %(world)s AND collection = c AND key = k COLLATE "C"
"""
COUNT: LiteralString = """
SELECT owner FROM unnest(%(owners)b::text[]) AS asked (owner) WHERE %(most)s < (
    SELECT count(*) FROM (
        SELECT FROM object WHERE world = %(world)s AND object.owner = asked.owner AND object.owner <> '' LIMIT %(most)s + 1
    ) AS found
) LIMIT 1
"""
# A page ends where its values are too large together; its first object is always there.
_PAGE: LiteralString = f"""
SELECT {_FIELDS} FROM (
    SELECT *, sum(octet_length(value)) OVER (ORDER BY collection, key) - octet_length(value) AS before
    FROM (SELECT * FROM object WHERE %s ORDER BY collection, key LIMIT %%(count)s) AS found
) AS counted WHERE before = 0 OR before + octet_length(value) <= %%(most)s ORDER BY collection, key
"""
_IN: LiteralString = 'world = %(world)s AND collection = %(collection)s AND key > %(after)s COLLATE "C" AND starts_with(key, %(prefix)s)'
LIST: LiteralString = _PAGE % _IN
LIST_OF: LiteralString = _PAGE % (_IN + " AND owner = %(owner)s AND owner <> ''")
EXPORT: LiteralString = _PAGE % (
    "world = %(world)s AND owner = %(owner)s AND owner <> ''"
    ' AND (collection, key) > (%(collection)s, %(after)s COLLATE "C")'
)
DELETE_OWNER: LiteralString = "DELETE FROM object WHERE world = %s AND owner = %s AND owner <> ''"
