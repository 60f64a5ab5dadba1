# Calls of the interpreter within calls of extension modules, and back.
import ctypes, json, re, sqlite3, zlib

def recurse(depth):
    if depth == 0:
        return [json.dumps({'a': [1, 2, 3] * 3, 'b': 'x' * 50}), re.sub('a+', 'b', 'caaat' * 5),
                sorted([3, 1, 2], key=str), zlib.compress(b'a' * 100)]
    return list(map(lambda _: recurse(depth - 1), [1]))[0] if depth % 3 == 0 else recurse(depth - 1)

database = sqlite3.connect(':memory:')
database.create_function('twice', 1, lambda text: text * 2)
for i in range(600):
    recurse(i % 10)
    database.execute('select twice(?)', ('abc',)).fetchall()
