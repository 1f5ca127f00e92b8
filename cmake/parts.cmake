# parts.cmake - what is built on the pure floors: store, client library, server, tool, tests, bench.

# SQLite store.
file(GLOB sources CONFIGURE_DEPENDS src/store/sqlite*.c)
if(sources)
  # sql/sqlite/NNNN_*.sql, in order, become an array in a header: the steps of the schema.
  file(GLOB sql CONFIGURE_DEPENDS sql/sqlite/*.sql)
  set(schema ${CMAKE_CURRENT_BINARY_DIR}/generated/store/sqlite_schema_steps.h)
  add_custom_command(
    OUTPUT ${schema}
    COMMAND ${CMAKE_COMMAND} -DNAME=sqlite_schema_steps -DOUT=${schema} "-DFILES=${sql}"
            -P ${CMAKE_CURRENT_SOURCE_DIR}/cmake/embed.cmake
    DEPENDS ${sql} cmake/embed.cmake VERBATIM)
  add_library(bq_store_sqlite STATIC ${sources} ${schema})
  target_include_directories(bq_store_sqlite PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/generated)
  target_link_libraries(bq_store_sqlite PUBLIC ${pure} PkgConfig::SQLITE)
endif()

# PostgreSQL store, and the door to either; the steps of its schema as above.
file(GLOB sources CONFIGURE_DEPENDS src/store/postgres*.c)
if(sources)
  file(GLOB sql CONFIGURE_DEPENDS sql/postgres/[0-9]*.sql)
  set(schema ${CMAKE_CURRENT_BINARY_DIR}/generated/store/postgres_schema_steps.h)
  add_custom_command(
    OUTPUT ${schema}
    COMMAND ${CMAKE_COMMAND} -DNAME=postgres_schema_steps -DOUT=${schema} "-DFILES=${sql}"
            -P ${CMAKE_CURRENT_SOURCE_DIR}/cmake/embed.cmake
    DEPENDS ${sql} cmake/embed.cmake VERBATIM)
  add_library(bq_store_postgres STATIC ${sources} src/store/open.c ${schema})
  target_include_directories(bq_store_postgres PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/generated)
  target_link_libraries(bq_store_postgres PUBLIC bq_store_sqlite PkgConfig::PQ)
endif()

# Outgoing connections: what client and server share.
file(GLOB sources CONFIGURE_DEPENDS src/net/*.c)
add_library(bq_net STATIC ${sources})
target_link_libraries(bq_net PUBLIC ${pure} PkgConfig::CURL bq_wslay Threads::Threads)

# Client library: an archive for the program and the tests, with ASSERT on; cmake/library.cmake makes
# libbqsync.so and libbqsync.a of the same sources for apps.
file(GLOB sources CONFIGURE_DEPENDS src/client/*.c)
if(sources)
  add_library(bq_client STATIC ${sources})
  target_link_libraries(bq_client PUBLIC bq_net PkgConfig::SQLITE Threads::Threads)
  include(cmake/library.cmake)
endif()

# Server.
file(GLOB sources CONFIGURE_DEPENDS src/server/*.c)
if(sources)
  add_library(bq_server STATIC ${sources})
  target_link_libraries(bq_server PUBLIC bq_net PkgConfig::MHD PkgConfig::SSL PkgConfig::CRYPTO
                        Threads::Threads)
  target_link_libraries(bq_server PUBLIC bq_store_sqlite bq_store_postgres)
endif()

# Simulator: the pure floors under a made-up world, pure itself.
file(GLOB sources CONFIGURE_DEPENDS src/sim/*.c)
if(sources)
  add_library(bq_sim STATIC ${sources})
  target_link_libraries(bq_sim PUBLIC ${pure})
endif()

# The one program.
file(GLOB sources CONFIGURE_DEPENDS src/cli/*.c)
if(sources AND TARGET bq_client AND TARGET bq_server)
  add_executable(bqsync ${sources})
  target_link_libraries(bqsync PRIVATE bq_client bq_server bq_sim PkgConfig::CURL PkgConfig::CRYPTO)
  include(cmake/install.cmake)
endif()

if(BQ_TESTS)
  enable_testing()
  pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
  file(GLOB sources CONFIGURE_DEPENDS tests/lib/*.c)
  if(sources)
    add_library(bq_test STATIC ${sources})
    target_include_directories(bq_test PUBLIC tests/lib)
    target_link_libraries(bq_test PUBLIC ${pure} PkgConfig::CMOCKA PkgConfig::CRYPTO PkgConfig::CURL
                          PkgConfig::SQLITE PkgConfig::PQ Threads::Threads)
  endif()
  # tests/<suite>/test_X.c is a program each, tests/e2e/X_test.sh a script each; all are labelled with
  # their suite, find the program in $BQSYNC and run in the source folder.
  foreach(suite unit property fault e2e sim vectors)
    file(GLOB sources CONFIGURE_DEPENDS tests/${suite}/test_*.c)
    foreach(source ${sources})
      get_filename_component(name ${source} NAME_WE)
      add_executable(${name} ${source})
      target_include_directories(${name} PRIVATE tests/lib)
      target_link_libraries(${name} PRIVATE ${pure} PkgConfig::CMOCKA)
      foreach(part bq_test bq_store_sqlite bq_store_postgres bq_client bq_server bq_sim)
        if(TARGET ${part})
          target_link_libraries(${name} PRIVATE ${part})
        endif()
      endforeach()
      add_test(NAME ${name} COMMAND ${name})
      set_property(TEST ${name} PROPERTY LABELS ${suite})
      list(APPEND tests ${name})
    endforeach()
    file(GLOB sources CONFIGURE_DEPENDS tests/${suite}/*_test.sh)
    foreach(source ${sources})
      get_filename_component(name ${source} NAME_WE)
      add_test(NAME ${name} COMMAND bash ${source})
      set_property(TEST ${name} PROPERTY LABELS ${suite})
      set_property(TEST ${name} PROPERTY SKIP_RETURN_CODE 77) # what it needs is not here: it says
      list(APPEND tests ${name})
    endforeach()
  endforeach()
  # tests/suites/X.c is a program that the script of a suite runs; ctest does not know it.
  file(GLOB sources CONFIGURE_DEPENDS tests/suites/*.c)
  foreach(source ${sources})
    get_filename_component(name ${source} NAME_WE)
    add_executable(suite_${name} ${source})
    target_include_directories(suite_${name} PRIVATE tests/lib)
    target_link_libraries(suite_${name} PRIVATE bq_test bq_store_sqlite bq_client bq_server)
  endforeach()
  # tests/shim/X.c is a library for LD_PRELOAD: libX.so. Without sanitizers, whose runtime has to
  # come before it.
  file(GLOB sources CONFIGURE_DEPENDS tests/shim/*.c)
  foreach(source ${sources})
    get_filename_component(name ${source} NAME_WE)
    add_library(${name} SHARED ${source})
    target_include_directories(${name} PRIVATE tests/lib)
    target_compile_options(${name} PRIVATE -fno-sanitize=all -U_FORTIFY_SOURCE)
    target_link_options(${name} PRIVATE -fno-sanitize=all)
  endforeach()
  if(tests)
    set_tests_properties(${tests} PROPERTIES WORKING_DIRECTORY ${CMAKE_SOURCE_DIR} TIMEOUT 300
      ENVIRONMENT "BQSYNC=${CMAKE_BINARY_DIR}/bqsync;BQ_BUILD=${CMAKE_BINARY_DIR}")
  endif()
endif()

# bench/X.c is a program each; live_bench uses the swarm of the tests.
if(BQ_BENCH)
  file(GLOB sources CONFIGURE_DEPENDS bench/*.c)
  foreach(source ${sources})
    get_filename_component(name ${source} NAME_WE)
    if(name STREQUAL live_bench AND NOT TARGET bq_test)
      continue()
    endif()
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE ${pure} PkgConfig::MHD Threads::Threads)
    foreach(part bq_store_sqlite bq_client bq_server)
      if(TARGET ${part})
        target_link_libraries(${name} PRIVATE ${part})
      endif()
    endforeach()
    if(name STREQUAL live_bench)
      target_link_libraries(${name} PRIVATE bq_test)
    endif()
  endforeach()
endif()
