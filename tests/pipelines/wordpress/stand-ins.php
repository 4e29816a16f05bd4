<?php
/**
 * The few functions of WordPress that the plugin calls, as they do it: hooks, options, transients, cron, HTTP by PHP's own
 * streams, escaping. What a site holds is in `$site`.
 */

define( 'ABSPATH', '/' );

class WP_Error {}
class WP_Post {
	public $ID = 0;
	public $post_type = 'post';
	public $post_status = 'publish';
	public $post_password = '';
	public $post_title = '';
	public $post_author = 1;
	public $tags = array();
	public $image = false;
	public $time = '2026-09-21T14:13:20Z';
}

class Site {
	public $hooks = array();
	public $options = array();
	public $transients = array();
	public $posts = array();
	/** What others have stored meanwhile, which this process reads once it forgets what it has read. Null: deleted. */
	public $elsewhere = array();
	public $meta = array();
	public $cron = array();
	public $blocks = array();
	public $shortcodes = array();
	public $scripts = array();
	public $queried = null;
	public $user_may = true;
	public $nonce_is_good = true;
	public $requests = 0;
	public $setting = array();
	public $errors = array();
}
$site = new Site();

/* Hooks. */
$current = array();
function add_filter( $name, $callback, $priority = 10, $arguments = 1 ) {
	global $site;
	$site->hooks[ $name ][] = array( $callback, $arguments );
}
function add_action( ...$words ) {
	add_filter( ...$words );
}
function apply_filters( $name, $value, ...$more ) {
	global $site, $current;
	$current[] = $name;
	foreach ( isset( $site->hooks[ $name ] ) ? $site->hooks[ $name ] : array() as list( $callback, $arguments ) ) {
		$value = $callback( ...array_slice( array( $value, ...$more ), 0, $arguments ) );
	}
	array_pop( $current );
	return $value;
}
function do_action( $name, ...$words ) {
	apply_filters( $name, ...( $words ? $words : array( null ) ) );
}
function current_action() {
	global $current;
	return end( $current );
}
function register_deactivation_hook( $file, $callback ) {}
function register_uninstall_hook( $file, $callback ) {}

/* What is stored. */
function get_option( $name, $default = false ) {
	global $site;
	return array_key_exists( $name, $site->options ) ? $site->options[ $name ] : $default;
}
function update_option( $name, $value, $autoload = null ) {
	global $site;
	$site->options[ $name ] = $value;
}
function add_option( $name, $value, $deprecated = '', $autoload = null ) {
	update_option( $name, get_option( $name, $value ) );
}
function delete_option( $name ) {
	global $site;
	unset( $site->options[ $name ] );
}
function get_transient( $name ) {
	global $site;
	return isset( $site->transients[ $name ] ) ? $site->transients[ $name ] : false;
}
function set_transient( $name, $value, $seconds ) {
	global $site;
	$site->transients[ $name ] = unserialize( serialize( $value ) );
}
function get_post( $id ) {
	global $site;
	$id = $id instanceof WP_Post ? $id->ID : $id;
	return isset( $site->posts[ $id ] ) ? $site->posts[ $id ] : null;
}
function wp_cache_delete( $id, $group ) {
	global $site;
	if ( array_key_exists( $id, $site->elsewhere ) ) {
		$site->posts = array_filter( array( $id => $site->elsewhere[ $id ] ) + $site->posts );
		unset( $site->elsewhere[ $id ] );
	}
}
function get_post_meta( $id, $name, $single ) {
	global $site;
	return isset( $site->meta[ $id ][ $name ] ) ? $site->meta[ $id ][ $name ] : '';
}
function update_post_meta( $id, $name, $value ) {
	global $site;
	$site->meta[ $id ][ $name ] = $value;
}
function delete_post_meta_by_key( $name ) {}

/* Posts. */
function wp_is_post_revision( $id ) {
	return false;
}
function wp_is_post_autosave( $id ) {
	return false;
}
function get_the_title( $post ) {
	// As wptexturize and its like leave it: with entities.
	return str_replace( array( '&', '"' ), array( '&#038;', '&#8220;' ), $post->post_title );
}
function get_the_author_meta( $field, $user ) {
	return 'Ada <b>Lovelace</b>';
}
function get_permalink( $post ) {
	return 'https://blog.example/?p=' . $post->ID;
}
function get_post_time( $format, $gmt, $post ) {
	// As of a draft, whose time is 0000-00-00: none.
	return '' === $post->time ? false : gmdate( $format, strtotime( $post->time ) );
}
function wp_get_post_terms( $id, $taxonomy, $how ) {
	return get_post( $id )->tags;
}
function get_the_post_thumbnail_url( $post, $size ) {
	return $post->image;
}
function get_post_types( $what, $output = 'names' ) {
	$types = array( 'post' => (object) array( 'name' => 'post', 'label' => 'Posts' ), 'page' => (object) array( 'name' => 'page', 'label' => 'Pages' ), 'attachment' => (object) array( 'name' => 'attachment', 'label' => 'Media' ) );
	return 'objects' === $output ? $types : array_combine( array_keys( $types ), array_keys( $types ) );
}
function is_singular( $types ) {
	global $site;
	return $site->queried && in_array( $site->queried->post_type, (array) $types, true );
}
function is_preview() {
	return false;
}
function get_queried_object() {
	global $site;
	return $site->queried;
}
function get_queried_object_id() {
	global $site;
	return $site->queried->ID;
}

/* Cron: what is due runs when `run_cron` is called. */
function wp_next_scheduled( $hook, $arguments = array() ) {
	global $site;
	foreach ( $site->cron as $event ) {
		if ( $event[1] === $hook && $event[2] === $arguments ) {
			return $event[0];
		}
	}
	return false;
}
function wp_schedule_single_event( $at, $hook, $arguments = array() ) {
	global $site;
	$site->cron[] = array( $at, $hook, $arguments );
}
function wp_unschedule_hook( $hook ) {
	global $site;
	$site->cron = array_filter( $site->cron, fn( $event ) => $event[1] !== $hook );
}
function run_cron( $now = null ) {
	global $site;
	for ( $rounds = 0; $rounds < 100; $rounds++ ) {
		$due = array_filter( $site->cron, fn( $event ) => $event[0] <= ( $now ?? time() ) );
		if ( ! $due ) {
			return;
		}
		$site->cron = array_diff_key( $site->cron, $due );
		foreach ( $due as list( , $hook, $arguments ) ) {
			do_action( $hook, ...$arguments );
		}
	}
	throw new Exception( 'this never ends' );
}

/* HTTP. */
function wp_remote_request( $url, $how ) {
	global $site;
	$site->requests++;
	$headers = array();
	foreach ( $how['headers'] as $name => $value ) {
		$headers[] = "$name: $value";
	}
	$http = array( 'method' => $how['method'], 'header' => $headers, 'timeout' => $how['timeout'], 'ignore_errors' => true, 'follow_location' => 0, 'content' => isset( $how['body'] ) ? $how['body'] : '' );
	$body = @file_get_contents( $url, false, stream_context_create( array( 'http' => $http ) ) );
	if ( false === $body ) {
		return new WP_Error();
	}
	preg_match( '/ (\d{3})/', $http_response_header[0], $status );
	return array( 'code' => (int) $status[1], 'body' => $body );
}
function wp_remote_get( $url, $how ) {
	return wp_remote_request( $url, array( 'method' => 'GET' ) + $how );
}
function is_wp_error( $answer ) {
	return $answer instanceof WP_Error;
}
function wp_remote_retrieve_response_code( $answer ) {
	return $answer['code'];
}
function wp_remote_retrieve_body( $answer ) {
	return $answer['body'];
}
function wp_json_encode( $value ) {
	return json_encode( $value );
}

/* Text. */
function esc_html( $text ) {
	return htmlspecialchars( $text, ENT_QUOTES, 'UTF-8', false );
}
function esc_attr( $text ) {
	return htmlspecialchars( $text, ENT_QUOTES, 'UTF-8', false );
}
function esc_url_raw( $url, $schemes = array( 'http', 'https' ) ) {
	$url = preg_replace( '/[^a-z0-9-~+_.?#=!&;,\/:%@$|*\'()\[\]\x80-\xff]/i', '', $url );
	return preg_match( '/^(' . implode( '|', $schemes ) . '):\/\//i', $url ) ? $url : '';
}
function esc_url( $url, $schemes = array( 'http', 'https' ) ) {
	return str_replace( array( '&', "'" ), array( '&#038;', '&#039;' ), esc_url_raw( $url, $schemes ) );
}
function __( $text, $domain ) {
	return $text;
}
function esc_html__( $text, $domain ) {
	return esc_html( $text );
}
function wp_strip_all_tags( $text ) {
	return trim( strip_tags( preg_replace( '@<(script|style)[^>]*?>.*?</\\1>@si', '', $text ) ) );
}
function sanitize_key( $key ) {
	return preg_replace( '/[^a-z0-9_\-]/', '', strtolower( $key ) );
}
function untrailingslashit( $text ) {
	return rtrim( $text, '/\\' );
}
function number_format_i18n( $number ) {
	return number_format( $number );
}
function checked( $is, $wanted, $echo ) {
	return $is === $wanted ? " checked='checked'" : '';
}

/* The dashboard. */
function register_setting( $group, $name, $how ) {
	global $site;
	$site->setting = $how;
}
function add_settings_error( $setting, $code, $message ) {
	global $site;
	$site->errors[] = $message;
}
function add_options_page( ...$words ) {}
function admin_url( $path ) {
	return 'https://blog.example/wp-admin/' . $path;
}
function settings_fields( $group ) {
	echo '<input type="hidden" name="_wpnonce" value="of ' . esc_attr( $group ) . '">';
}
function wp_nonce_field( $action ) {
	echo '<input type="hidden" name="_wpnonce" value="of ' . esc_attr( $action ) . '">';
}
function submit_button( ...$words ) {}
function current_user_can( $what ) {
	global $site;
	return $site->user_may;
}
function check_admin_referer( $action ) {
	global $site;
	if ( ! $site->nonce_is_good ) {
		throw new Exception( 'wrong nonce' );
	}
}
function wp_die( $message ) {
	throw new Exception( $message );
}
function wp_safe_redirect( $to ) {
	throw new Exception( "redirected to $to" );
}

/* Scripts and blocks. */
function wp_enqueue_script( $handle, $source, ...$more ) {
	global $site;
	$site->scripts[ $handle ] = $source;
}
function wp_register_script( $handle, $source, ...$more ) {
	global $site;
	$site->scripts[ $handle ] = $source;
}
function plugins_url( $path, $plugin ) {
	return dirname( $plugin ) . '/' . $path;
}
function add_shortcode( $name, $callback ) {
	global $site;
	$site->shortcodes[ $name ] = $callback;
}
function shortcode_atts( $defaults, $given, $name ) {
	return array_merge( $defaults, array_intersect_key( $given, $defaults ) );
}
function register_block_type( $name, $how ) {
	global $site;
	$site->blocks[ $name ] = $how;
}

class Database {
	public $posts    = 'wp_posts';
	public $postmeta = 'wp_postmeta';
	public $options  = 'wp_options';
	public function prepare( $query, ...$values ) {
		$values = is_array( $values[0] ) ? $values[0] : $values;
		$quoted = array_map( fn( $value ) => is_int( $value ) ? $value : addslashes( $value ), $values );
		return vsprintf( str_replace( '%s', "'%s'", $query ), $quoted );
	}
	public function esc_like( $text ) {
		return addcslashes( $text, '_%\\' );
	}
	/** The posts that a query of the plugin finds. Its condition is read as PHP: what is not known here is an error. */
	private function find_posts( $query ) {
		global $site;
		if ( ! preg_match( "/ FROM {$this->posts} WHERE (.+?)(?: ORDER BY ID LIMIT (\\d+))?$/", $query, $found ) ) {
			throw new Exception( "not known: $query" );
		}
		$condition = strtr( $found[1], array( "ID IN ( SELECT post_id FROM {$this->postmeta} WHERE meta_key = '_hitparade' AND meta_value = 'shown' )" => "'shown' === get_post_meta( \$post->ID, '_hitparade', true )", ' = ' => ' === ' ) );
		$condition = preg_replace( '/post_type IN \(([^)]+)\)/', 'in_array( post_type, array( $1 ), true )', $condition );
		$condition = preg_replace( '/(?<!->|_)\b(?:ID|post_type|post_status|post_password)\b/', '$post->$0', $condition );
		$posts     = array_filter( $site->posts, eval( "return fn( \$post ) => $condition;" ) );
		ksort( $posts );
		return array_slice( $posts, 0, $found[2] ?? null, true );
	}
	/** Values of options by the beginning of their names, or numbers of posts. */
	public function get_col( $query ) {
		global $site;
		if ( preg_match( "/ FROM {$this->options} WHERE option_name LIKE '(.*)%'$/", $query, $found ) ) {
			$beginning = stripslashes( stripslashes( $found[1] ) );
			return array_values( array_filter( $site->options, fn( $name ) => 0 === strpos( $name, $beginning ), ARRAY_FILTER_USE_KEY ) );
		}
		return array_map( 'strval', array_keys( $this->find_posts( $query ) ) );
	}
	/** How many posts. */
	public function get_var( $query ) {
		return (string) count( $this->find_posts( $query ) );
	}
}
$wpdb = new Database();

require $argv[1];
