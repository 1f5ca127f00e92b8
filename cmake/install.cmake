# install.cmake - what `cmake --install` puts where: program, library, header, pages, completions.
include(CMakePackageConfigHelpers)

install(TARGETS bqsync RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS bqsync_shared EXPORT bqsync-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/libbqsync.a DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/bqsync.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/bqsync)
install(EXPORT bqsync-targets NAMESPACE bqsync:: DESTINATION ${package_dir})
configure_package_config_file(cmake/bqsync-config.cmake.in bqsync-config.cmake
  INSTALL_DESTINATION ${package_dir} PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
# Until 1.0 a minor version may break: SONAME and package version say so together.
write_basic_package_version_file(bqsync-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/bqsync-config.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/bqsync-config-version.cmake DESTINATION ${package_dir})

# From where the file lies, so that `cmake --install --prefix` may name any place.
file(RELATIVE_PATH prefix_from_pc ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/bqsync.pc.in bqsync.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/bqsync.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

file(GLOB pages1 docs/man/*.1)
file(GLOB pages3 docs/man/*.3)
file(GLOB pages5 docs/man/*.5)
install(FILES ${pages1} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${pages3} DESTINATION ${CMAKE_INSTALL_MANDIR}/man3)
install(FILES ${pages5} DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
install(FILES completions/bqsync.bash RENAME bqsync
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES completions/_bqsync DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
