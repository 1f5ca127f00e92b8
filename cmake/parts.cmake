# parts.cmake - what is built on the pure floors: store, client library, server, tool, tests, bench.

# SQLite store.
file(GLOB sources CONFIGURE_DEPENDS src/store/sqlite*.c)
if(sources)
  add_library(bq_store_sqlite STATIC ${sources})
  target_link_libraries(bq_store_sqlite PUBLIC ${pure} PkgConfig::SQLITE)
endif()

# Client library: objects once, linked into libbqsync.so and libbqsync.a.
file(GLOB sources CONFIGURE_DEPENDS src/client/*.c)
if(sources)
  add_library(bq_client STATIC ${sources})
  target_link_libraries(bq_client PUBLIC ${pure} PkgConfig::SQLITE PkgConfig::CURL Threads::Threads)
endif()

# Server.
file(GLOB sources CONFIGURE_DEPENDS src/server/*.c)
if(sources)
  add_library(bq_server STATIC ${sources})
  target_link_libraries(bq_server PUBLIC ${pure} PkgConfig::MHD PkgConfig::CRYPTO Threads::Threads)
  if(TARGET bq_store_sqlite)
    target_link_libraries(bq_server PUBLIC bq_store_sqlite)
  endif()
endif()

# The one program.
file(GLOB sources CONFIGURE_DEPENDS src/cli/*.c)
if(sources)
  add_executable(bqsync ${sources})
  target_link_libraries(bqsync PRIVATE bq_client bq_server)
endif()

if(BQ_TESTS)
  enable_testing()
  pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
  file(GLOB sources CONFIGURE_DEPENDS tests/lib/*.c)
  if(sources)
    add_library(bq_test STATIC ${sources})
    target_include_directories(bq_test PUBLIC tests/lib)
    target_link_libraries(bq_test PUBLIC ${pure} PkgConfig::CMOCKA)
  endif()
  # tests/unit/test_X.c and tests/property/test_X.c are a program each.
  file(GLOB sources CONFIGURE_DEPENDS tests/unit/test_*.c tests/property/test_*.c
       tests/fault/test_*.c tests/e2e/test_*.c)
  foreach(source ${sources})
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} ${source})
    target_include_directories(${name} PRIVATE tests/lib)
    target_link_libraries(${name} PRIVATE ${pure} PkgConfig::CMOCKA)
    foreach(part bq_test bq_store_sqlite bq_client bq_server)
      if(TARGET ${part})
        target_link_libraries(${name} PRIVATE ${part})
      endif()
    endforeach()
    add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  endforeach()
endif()
