# library.cmake - libbqsync: the client library as apps get it, shared and static.
#
# It is compiled apart from the server's archives, because an app must not be ended by a library:
# ASSERT is off in it (BQ_NO_ASSERT). libbqsync.a is one object whose hidden symbols were made local,
# so that two static libraries in one app cannot meet in a name.

# The library needs no store: only the pure floors, src/net and the client.
file(GLOB floor_sources CONFIGURE_DEPENDS src/base/*.c src/json/*.c src/merge/*.c src/proto/*.c
     src/core/*.c src/store/memory*.c)
file(GLOB client_sources CONFIGURE_DEPENDS src/client/*.c src/net/*.c)

add_library(bqsync_floors STATIC ${floor_sources})
target_link_libraries(bqsync_floors PRIVATE bq_headers)
target_compile_definitions(bqsync_floors PRIVATE BQ_NO_ASSERT)

add_library(bqsync_objects OBJECT ${client_sources})
target_link_libraries(bqsync_objects PRIVATE bq_headers PkgConfig::SQLITE PkgConfig::CURL bq_wslay)
target_compile_definitions(bqsync_objects PRIVATE BQ_NO_ASSERT)

add_library(bqsync_shared SHARED $<TARGET_OBJECTS:bqsync_objects>)
set(map ${CMAKE_CURRENT_SOURCE_DIR}/cmake/libbqsync.map)
set_target_properties(bqsync_shared PROPERTIES
  OUTPUT_NAME bqsync VERSION ${PROJECT_VERSION} SOVERSION 0 LINK_DEPENDS ${map} EXPORT_NAME bqsync)
target_compile_options(bqsync_floors PRIVATE -ffunction-sections -fdata-sections)
target_compile_options(bqsync_objects PRIVATE -ffunction-sections -fdata-sections)
target_link_libraries(bqsync_shared PRIVATE
  bqsync_floors PkgConfig::SQLITE PkgConfig::CURL bq_wslay Threads::Threads)
target_link_options(bqsync_shared PRIVATE -Wl,--version-script=${map} -Wl,--gc-sections)
target_include_directories(bqsync_shared INTERFACE
  $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)

set(static ${CMAKE_CURRENT_BINARY_DIR}/libbqsync.a)
add_custom_command(
  OUTPUT ${static}
  COMMAND ${CMAKE_LINKER} -r -o libbqsync-one.o $<TARGET_OBJECTS:bqsync_objects>
          $<TARGET_FILE:bqsync_floors>
  COMMAND ${CMAKE_OBJCOPY} --localize-hidden libbqsync-one.o
  COMMAND ${CMAKE_COMMAND} -E rm -f ${static}
  COMMAND ${CMAKE_AR} rcs ${static} libbqsync-one.o
  DEPENDS bqsync_objects $<TARGET_OBJECTS:bqsync_objects> bqsync_floors
  WORKING_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR} COMMAND_EXPAND_LISTS VERBATIM)
add_custom_target(bqsync_static ALL DEPENDS ${static})
