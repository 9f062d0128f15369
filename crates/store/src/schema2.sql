-- Version 2. Indexes: one name for images of several platforms.

-- The images that an index in blobs/ lists, in its order. All of them, or the index has no rows here.
CREATE TABLE index_image (
    list TEXT NOT NULL,
    position INTEGER NOT NULL,
    image TEXT NOT NULL REFERENCES image (digest) ON DELETE CASCADE,
    PRIMARY KEY (list, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX index_image_by_image ON index_image (image);

-- The index that a name means; `image` is then the one of its images that is taken where no platform is asked for.
ALTER TABLE name ADD COLUMN list TEXT;
CREATE INDEX name_by_list ON name (list);
