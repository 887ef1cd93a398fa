# cmake -DFOLDER=web -DOUT=FILE.cpp -P embed.cmake: writes a source file with the bytes of the folder's files, each in the
# variable that include/cai/web/files.hpp declares for it (report.css: kReportCss).
file(GLOB files ${FOLDER}/*.html ${FOLDER}/*.css ${FOLDER}/*.js)
set(source "#include \"cai/web/files.hpp\"\n\nnamespace cai {\n\n")
foreach(file ${files})
  get_filename_component(name ${file} NAME)
  string(REGEX MATCH "^(.)([^.]*)\\.(.)(.*)$" matched ${name})
  string(TOUPPER ${CMAKE_MATCH_1} first)
  string(TOUPPER ${CMAKE_MATCH_3} second)
  set(variable "k${first}${CMAKE_MATCH_2}${second}${CMAKE_MATCH_4}")
  file(READ ${file} bytes HEX)
  string(REGEX REPLACE "(................................)" "\\1\"\n    \"" bytes "${bytes}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "\\\\x\\1" bytes "${bytes}")
  string(APPEND source "static constexpr char ${variable}Bytes[] =\n    \"${bytes}\";\n"
         "const std::string_view ${variable}(${variable}Bytes, sizeof ${variable}Bytes - 1);\n\n")
endforeach()
file(WRITE ${OUT} "${source}}  // namespace cai\n")
