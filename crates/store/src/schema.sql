-- Version 1. Digests are texts as people see them; times are seconds since 1970.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A layer in layers/. `boot` is the boot in which it was written, NULL once it is on the disk.
CREATE TABLE layer (
    diff_id TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    index_size INTEGER NOT NULL,
    side INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    created INTEGER NOT NULL,
    boot TEXT
) STRICT, WITHOUT ROWID;

-- A layer that was unpacked, `flavour` is the directory's name beside layer.tar.
CREATE TABLE tree (
    diff_id TEXT NOT NULL,
    flavour TEXT NOT NULL,
    boot TEXT,
    PRIMARY KEY (diff_id, flavour)
) STRICT, WITHOUT ROWID;

-- A file in blobs/.
CREATE TABLE blob (
    digest TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    created INTEGER NOT NULL,
    boot TEXT
) STRICT, WITHOUT ROWID;

-- A blob that is a compressed form of a layer. Lives as long as the layer does.
CREATE TABLE compressed (
    blob TEXT PRIMARY KEY,
    diff_id TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX compressed_layer ON compressed (diff_id);

CREATE TABLE image (
    digest TEXT PRIMARY KEY,
    media_type TEXT NOT NULL,
    image_id TEXT NOT NULL,
    platform TEXT NOT NULL,
    created TEXT,
    size INTEGER NOT NULL,
    added INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX image_by_id ON image (image_id);

CREATE TABLE image_layer (
    image TEXT NOT NULL REFERENCES image (digest) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    diff_id TEXT NOT NULL,
    PRIMARY KEY (image, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_layer_by_layer ON image_layer (diff_id);

-- Blobs that an image needs: its manifest, its config, compressed layers, the index it came from.
CREATE TABLE image_blob (
    image TEXT NOT NULL REFERENCES image (digest) ON DELETE CASCADE,
    blob TEXT NOT NULL,
    PRIMARY KEY (image, blob)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_blob_by_blob ON image_blob (blob);

CREATE TABLE name (
    name TEXT PRIMARY KEY,
    image TEXT NOT NULL REFERENCES image (digest),
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX name_by_image ON name (image);

-- What a name meant, when, and who said so. `image` NULL: the name was taken away.
CREATE TABLE name_event (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    image TEXT,
    image_id TEXT,
    at INTEGER NOT NULL,
    by TEXT NOT NULL
) STRICT;
CREATE INDEX name_event_by_name ON name_event (name, id);

-- What a build step made. `parts` and `output` are JSON.
CREATE TABLE record (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    definition TEXT NOT NULL,
    parts TEXT NOT NULL,
    output TEXT NOT NULL,
    created INTEGER NOT NULL,
    last_used INTEGER NOT NULL
) STRICT;
CREATE INDEX record_by_definition ON record (definition, last_used);
CREATE INDEX record_by_use ON record (last_used);

CREATE TABLE record_layer (
    record INTEGER NOT NULL REFERENCES record (id) ON DELETE CASCADE,
    diff_id TEXT NOT NULL,
    PRIMARY KEY (record, diff_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX record_layer_by_layer ON record_layer (diff_id);

CREATE TABLE container (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    image TEXT,
    image_name TEXT NOT NULL,
    created INTEGER NOT NULL,
    state TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX container_by_image ON container (image);

CREATE TABLE container_layer (
    container TEXT NOT NULL REFERENCES container (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    diff_id TEXT NOT NULL,
    PRIMARY KEY (container, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX container_layer_by_layer ON container_layer (diff_id);

-- A process at work. It lives as long as somebody holds the lock on tmp/<id>.lock; the rest is for people.
CREATE TABLE lease (
    id TEXT PRIMARY KEY,
    purpose TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started INTEGER NOT NULL,
    boot TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What it needs.
CREATE TABLE lease_item (
    lease TEXT NOT NULL REFERENCES lease (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (lease, kind, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX lease_item_by_digest ON lease_item (kind, digest);

-- Content on its way in or out. Rows outlive the lock only if its holder died; without a row in its own table, the content goes.
CREATE TABLE pending (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
