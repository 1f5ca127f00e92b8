# embed.cmake - writes text files into a C header, as an array of NUL-terminated strings.
#
#   cmake -DNAME=sqlite_schema -DOUT=<header> "-DFILES=a.sql;b.sql" -P embed.cmake
#
# gives `static const char *const sqlite_schema[]`, in the order of FILES. Bytes, not string
# literals: those have a length limit in C11.
set(arrays "")
set(names "")
set(number 0)
foreach(file ${FILES})
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "(................................................................................)"
         "\\1\n" bytes "${bytes}")
  math(EXPR number "${number} + 1")
  string(APPEND arrays "static const char ${NAME}_${number}[] = {\n${bytes}0};\n")
  string(APPEND names "${NAME}_${number},")
endforeach()
file(WRITE ${OUT} "/* Made by cmake/embed.cmake. */\n#include <stddef.h>\n\n${arrays}
static const char *const ${NAME}[] = {${names}};\n")
