//! Python's standard library, by the names of its modules: of what is known, only what makes values may be called.
//!
//! Source: `sys.stdlib_module_names` of Python 3.11 to 3.14, the library of Python 2.7, `_compat_pickle`.

/// Its modules, and what comes with every Python; sorted.
#[rustfmt::skip]
pub const STANDARD: [&str; 386] = [
    "BaseHTTPServer", "CGIHTTPServer", "ConfigParser", "Cookie", "Dialog", "DocXMLRPCServer", "FileDialog",
    "HTMLParser", "Queue", "ScrolledText", "SimpleDialog", "SimpleHTTPServer", "SimpleXMLRPCServer",
    "SocketServer", "StringIO", "Tix", "Tkconstants", "Tkdnd", "Tkinter", "UserDict", "UserList", "UserString",
    "__builtin__", "__future__", "_abc", "_abcoll", "_aix_support", "_android_support", "_ast", "_asyncio",
    "_bisect", "_blake2", "_bootsubprocess", "_bz2", "_codecs", "_codecs_cn", "_codecs_hk", "_codecs_iso2022",
    "_codecs_jp", "_codecs_kr", "_codecs_tw", "_collections", "_collections_abc", "_compat_pickle",
    "_compression", "_contextvars", "_crypt", "_csv", "_ctypes", "_curses", "_curses_panel", "_datetime",
    "_dbm", "_decimal", "_elementtree", "_frozen_importlib", "_frozen_importlib_external", "_functools",
    "_gdbm", "_hashlib", "_heapq", "_imp", "_interpchannels", "_interpqueues", "_interpreters", "_io",
    "_ios_support", "_json", "_locale", "_lsprof", "_lzma", "_markupbase", "_md5", "_msi", "_multibytecodec",
    "_multiprocessing", "_opcode", "_operator", "_osx_support", "_overlapped", "_pickle", "_posixshmem",
    "_posixsubprocess", "_py_abc", "_pydatetime", "_pydecimal", "_pyio", "_pyrepl", "_queue", "_random",
    "_scproxy", "_sha1", "_sha256", "_sha3", "_sha512", "_signal", "_sitebuiltins", "_socket", "_sqlite3",
    "_sre", "_ssl", "_stat", "_statistics", "_string", "_strptime", "_struct", "_symtable", "_thread",
    "_threading_local", "_tkinter", "_tokenize", "_tracemalloc", "_typing", "_uuid", "_warnings", "_weakref",
    "_weakrefset", "_winapi", "_winreg", "_zoneinfo", "abc", "aifc", "annotationlib", "antigravity", "anydbm",
    "argparse", "array", "ast", "asynchat", "asyncio", "asyncore", "atexit", "audioop", "base64", "bdb",
    "binascii", "bisect", "builtins", "bz2", "cPickle", "cProfile", "cStringIO", "calendar", "cgi", "cgitb",
    "chunk", "cmath", "cmd", "code", "codecs", "codeop", "collections", "colorsys", "commands", "compileall",
    "compression", "concurrent", "configparser", "contextlib", "contextvars", "cookielib", "copy", "copy_reg",
    "copyreg", "crypt", "csv", "ctypes", "curses", "dataclasses", "datetime", "dbhash", "dbm", "decimal",
    "difflib", "dircache", "dis", "distutils", "doctest", "dumbdbm", "dummy_thread", "email", "encodings",
    "ensurepip", "enum", "errno", "exceptions", "faulthandler", "fcntl", "filecmp", "fileinput", "fnmatch",
    "fractions", "ftplib", "functools", "future_builtins", "gc", "gdbm", "genericpath", "getopt", "getpass",
    "gettext", "glob", "graphlib", "grp", "gzip", "hashlib", "heapq", "hmac", "hotshot", "html",
    "htmlentitydefs", "htmllib", "http", "httplib", "idlelib", "ihooks", "imaplib", "imghdr", "imp",
    "importlib", "imputil", "inspect", "io", "ipaddress", "itertools", "json", "keyword", "lib2to3",
    "linecache", "locale", "logging", "lzma", "mailbox", "mailcap", "markupbase", "marshal", "math", "mhlib",
    "mimetools", "mimetypes", "mimify", "mmap", "modulefinder", "msilib", "msvcrt", "multiprocessing", "netrc",
    "nis", "nntplib", "nt", "ntpath", "nturl2path", "numbers", "opcode", "operator", "optparse", "os",
    "ossaudiodev", "pathlib", "pdb", "pickle", "pickletools", "pip", "pipes", "pkg_resources", "pkgutil",
    "platform", "plistlib", "popen2", "poplib", "posix", "posixfile", "posixpath", "pprint", "profile",
    "pstats", "pty", "pwd", "py_compile", "pyclbr", "pydoc", "pydoc_data", "pyexpat", "queue", "quopri",
    "random", "re", "readline", "reprlib", "resource", "rexec", "rfc822", "rlcompleter", "robotparser", "runpy",
    "sched", "secrets", "select", "selectors", "setuptools", "sgmllib", "shelve", "shlex", "shutil", "signal",
    "site", "smtpd", "smtplib", "sndhdr", "socket", "socketserver", "spwd", "sqlite3", "sre_compile",
    "sre_constants", "sre_parse", "ssl", "stat", "statistics", "string", "stringprep", "struct", "subprocess",
    "sunau", "sunaudio", "symtable", "sys", "sysconfig", "syslog", "tabnanny", "tarfile", "telnetlib",
    "tempfile", "termios", "test", "textwrap", "this", "thread", "threading", "time", "timeit",
    "tkColorChooser", "tkCommonDialog", "tkFileDialog", "tkFont", "tkMessageBox", "tkSimpleDialog", "tkinter",
    "token", "tokenize", "tomllib", "trace", "traceback", "tracemalloc", "ttk", "tty", "turtle", "turtledemo",
    "types", "typing", "unicodedata", "unittest", "urllib", "urllib2", "urlparse", "uu", "uuid", "venv",
    "warnings", "wave", "weakref", "webbrowser", "whichdb", "winreg", "winsound", "wsgiref", "xdrlib", "xml",
    "xmllib", "xmlrpc", "xmlrpclib", "zipapp", "zipfile", "zipimport", "zlib", "zoneinfo",
];

/// Names of Python 2, which Python 3 takes for its own in protocols 0 to 2, beside those that act under both.
#[rustfmt::skip]
const RENAMED: [(&str, &str); 51] = [
    ("BaseHTTPServer", "http.server"), ("CGIHTTPServer", "http.server"), ("ConfigParser", "configparser"),
    ("Cookie", "http.cookies"), ("Dialog", "tkinter.dialog"), ("DocXMLRPCServer", "xmlrpc.server"),
    ("FileDialog", "tkinter.filedialog"), ("HTMLParser", "html.parser"), ("Queue", "queue"),
    ("ScrolledText", "tkinter.scrolledtext"), ("SimpleDialog", "tkinter.simpledialog"),
    ("SimpleHTTPServer", "http.server"), ("SimpleXMLRPCServer", "xmlrpc.server"),
    ("SocketServer", "socketserver"), ("StringIO", "io"), ("Tix", "tkinter.tix"),
    ("Tkconstants", "tkinter.constants"), ("Tkdnd", "tkinter.dnd"), ("Tkinter", "tkinter"),
    ("UserDict", "collections"), ("UserList", "collections"), ("UserString", "collections"),
    ("__builtin__", "builtins"), ("_abcoll", "collections.abc"), ("_winreg", "winreg"), ("anydbm", "dbm"),
    ("cPickle", "pickle"), ("cStringIO", "io"), ("cookielib", "http.cookiejar"), ("copy_reg", "copyreg"),
    ("dbhash", "dbm.bsd"), ("dumbdbm", "dbm.dumb"), ("dummy_thread", "_dummy_thread"),
    ("exceptions", "builtins"), ("gdbm", "dbm.gnu"), ("htmlentitydefs", "html.entities"),
    ("httplib", "http.client"), ("markupbase", "_markupbase"), ("robotparser", "urllib.robotparser"),
    ("thread", "_thread"), ("tkColorChooser", "tkinter.colorchooser"),
    ("tkCommonDialog", "tkinter.commondialog"), ("tkFileDialog", "tkinter.filedialog"),
    ("tkFont", "tkinter.font"), ("tkMessageBox", "tkinter.messagebox"),
    ("tkSimpleDialog", "tkinter.simpledialog"), ("ttk", "tkinter.ttk"), ("urllib2", "urllib.request"),
    ("urlparse", "urllib.parse"), ("whichdb", "dbm"), ("xmlrpclib", "xmlrpc.client"),
];

/// The module of Python 3 that a module of Python 2 became; itself if it is none of these.
pub fn renamed(module: &str) -> &str {
    let found = RENAMED.binary_search_by_key(&module, |(old, _)| *old);
    found.map_or(module, |at| RENAMED[at].1)
}

/// Whether a module is the standard library's, by the first part of its name.
pub fn is_standard(top: &str) -> bool {
    STANDARD.binary_search(&top).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_can_be_searched() {
        assert!(STANDARD.is_sorted() && RENAMED.is_sorted());
        assert_eq!((renamed("StringIO"), renamed("mine")), ("io", "mine"));
    }
}
